"""Makes HTML pages from templates."""

from pathlib import Path

from resources.atomic_write import atomic_write


def write_html(page: Path, template: str, **values: object) -> None:
    """Renders a template of this package into a page that needs no other file. Every value is escaped.

    Raises:
        OSError: the page cannot be written.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("c4_assets.pictures", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    html = environment.get_template(template).render(values)
    with atomic_write(page) as temporary:
        temporary.write_text(html, encoding="utf-8")
