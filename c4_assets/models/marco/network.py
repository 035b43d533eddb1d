"""MARCO's graph, cut out of its SavedModel and frozen for TensorFlow, and what its weights are believed by."""

import os
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from c4_assets.models.weights import SAVED_MODEL_FILES, content_sha256
from resources.errors import ConfigurationError

# Where MARCO's graph is cut: behind its own decoder, which takes one image after another, and before TopK, which
# sorts the scores of every image. The model's own order is clear, crystals, other, precipitate.
GRAPH_INPUT = "map/TensorArrayStack/TensorArrayGatherV3"
GRAPH_OUTPUT = "Inception/Predictions/Softmax"


def frozen_graph(saved_model: Path, weights_sha256: str) -> bytes:
    """The frozen graph: a GraphDef from :data:`GRAPH_INPUT` to :data:`GRAPH_OUTPUT`, weights as constants.

    It is made of the weights that the scorer version names, each time anew (1.4 s): one that is kept as a file would
    have to be believed.

    Raises:
        ConfigurationError: the folder does not hold those weights or is not MARCO's SavedModel.
    """
    with naming_the_model(saved_model), verified_copy(saved_model, weights_sha256) as copy:
        return _freeze(copy)


@contextmanager
def verified_copy(saved_model: Path, weights_sha256: str) -> Generator[Path]:
    """A copy of a SavedModel that only this process has, of the very bytes whose digest was verified.

    Libraries read models from files. What is loaded is what was hashed, whatever becomes of the folder meanwhile.

    Raises:
        ConfigurationError: the folder does not hold those weights, or there is no room for a copy.
    """
    content = {file: (saved_model / file).read_bytes() for file in SAVED_MODEL_FILES}
    if (found := content_sha256(content)) != weights_sha256:
        raise ConfigurationError(
            f"The weights in {saved_model} are not those of the scorer version (sha256 {found[:12]} instead of "
            f"{weights_sha256[:12]}): they are damaged or were exchanged. Fetch them again with `c4 model fetch`."
        )
    with tempfile.TemporaryDirectory(prefix="c4-model-", ignore_cleanup_errors=True) as folder:
        try:
            for file, data in content.items():
                (Path(folder) / file).parent.mkdir(exist_ok=True)
                (Path(folder) / file).write_bytes(data)
        except OSError as error:
            raise ConfigurationError(
                f"The weights cannot be copied to {folder} ({error.strerror}): set TMPDIR to a folder with more room."
            ) from error
        yield Path(folder)


@contextmanager
def naming_the_model(saved_model: Path) -> Generator[None]:
    """Turns what libraries raise of a folder that is not MARCO's SavedModel into a ConfigurationError that names it."""
    try:
        yield
    except (OSError, ValueError, LookupError, AttributeError, RuntimeError, TypeError, StopIteration) as error:
        raise ConfigurationError(
            f"The model in {saved_model} is not MARCO's SavedModel: {error or 'its graph is not in it'}. Fetch it "
            "again with `c4 model fetch`."
        ) from error


def _freeze(saved_model: Path) -> bytes:
    tf = tensorflow()
    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph(), config=v1.ConfigProto(device_count={"GPU": 0})) as session:
        v1.saved_model.load(session, ["serve"], str(saved_model))
        graph = session.graph.as_graph_def()
        cut = next(node for node in graph.node if node.name == GRAPH_INPUT)
        kind = v1.AttrValue(type=tf.float32.as_datatype_enum)
        cut.CopyFrom(v1.NodeDef(name=GRAPH_INPUT, op="Placeholder", attr={"dtype": kind}))
        return v1.graph_util.convert_variables_to_constants(session, graph, [GRAPH_OUTPUT]).SerializeToString()


def tensorflow() -> Any:
    """TensorFlow, imported on first use, from any thread, without its report of what it has not found."""
    with _importing:
        if "tensorflow" not in sys.modules:
            with quiet_stderr():
                import tensorflow
        import tensorflow

        # That functions of TensorFlow 1 are deprecated is no news: MARCO is a model of TensorFlow 1.
        untyped = cast("Any", tensorflow)
        untyped.get_logger().setLevel("ERROR")
        return untyped


_importing = threading.Lock()


@contextmanager
def quiet_stderr() -> Generator[None]:
    """Keeps what libraries report by the way off stderr, unless the block fails.

    Without a GPU, TensorFlow reports, where an operator looks for errors, that it found none; some of that comes before
    any log level of its own counts. OpenVINO reports each format that a file turns out not to have.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with tempfile.TemporaryFile() as report:
            os.dup2(report.fileno(), 2)
            try:
                yield
            except BaseException:
                report.seek(0)
                os.write(stderr, report.read())
                raise
            finally:
                os.dup2(stderr, 2)
    finally:
        os.close(stderr)
