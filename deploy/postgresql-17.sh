# PostgreSQL 17 with orafce, over which the tests speak Oracle's wire protocol (testing/oracle.py). Sourced by system-packages.
# Debian 13 has it. Elsewhere Debian 13's is put into a folder of its own, to be run in a chroot: 700 MB, a minute.

postgresql_17_tree=/var/lib/c4-tests/postgresql-17
postgresql_17_extensions="postgresql-17-orafce postgresql-17-plpgsql-check postgresql-17-pgvector"

postgresql_17_native() {
  (. /etc/os-release && [ "$ID" = debian ] && [ "${VERSION_ID:-0}" -ge 13 ]) 2>/dev/null
}

# Packages of this machine that it takes.
postgresql_17_packages() {
  if postgresql_17_native; then
    echo "postgresql-17 $postgresql_17_extensions"
  elif [ ! -x "$postgresql_17_tree/usr/lib/postgresql/17/bin/postgres" ]; then
    echo debootstrap debian-archive-keyring
  fi
}

# Makes the folder where it is needed and missing. An attempt that was broken off is begun again.
install_postgresql_17() {
  postgresql_17_native && return
  [ ! -x "$postgresql_17_tree/usr/lib/postgresql/17/bin/postgres" ] || return 0
  echo "Installing PostgreSQL 17 into $postgresql_17_tree" >&2
  rm -rf "$postgresql_17_tree" "$postgresql_17_tree.new"
  mkdir -p "$(dirname "$postgresql_17_tree")"
  include=$(echo "postgresql-17 $postgresql_17_extensions" | tr ' ' ',')
  debootstrap --variant=minbase --include="$include" trixie "$postgresql_17_tree.new" >"$1" 2>&1 || {
    tail -20 "$1" >&2
    rm -rf "$postgresql_17_tree.new"
    return 1
  }
  mv "$postgresql_17_tree.new" "$postgresql_17_tree"
}
