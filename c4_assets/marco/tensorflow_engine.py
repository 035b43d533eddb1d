"""MARCO's network in TensorFlow: the reference that every other engine is measured against."""

import os
import sys
import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from c4_assets.marco.engine import Classification, pipeline
from c4_assets.marco.preprocessing import pixels
from resources.errors import ConfigurationError

NAME, PRECISION = "tensorflow", "fp32"

# Where MARCO's graph is cut: behind its own decoder, which takes one image after another, and before TopK, which
# sorts the scores of every image. The network's own order is clear, crystals, other, precipitate.
_INPUT = "map/TensorArrayStack/TensorArrayGatherV3:0"
_OUTPUT = "Inception/Predictions/Softmax:0"


class TensorFlowEngine:
    """See :class:`c4_assets.marco.engine.Engine`. Uses a GPU where TensorFlow sees one.

    Args:
        saved_model: folder of MARCO's SavedModel.
        batch_size: images that enter the network together; 16 need about 1.2 GB.

    Raises:
        ConfigurationError: the folder does not hold MARCO's graph.
    """

    def __init__(self, saved_model: Path, batch_size: int) -> None:
        with _start_up_report_put_aside():
            import tensorflow as tf

        # That variables of TensorFlow 1 cannot be trained is no news: nothing is trained here.
        tf.get_logger().setLevel("ERROR")

        try:
            self._network = tf.saved_model.load(str(saved_model)).prune(_INPUT, _OUTPUT)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise ConfigurationError(
                f"The model in {saved_model} is not MARCO's SavedModel: {error}. Fetch it again with `c4 model fetch`, "
                "or correct C4_MODEL."
            ) from error
        self._batch_size = batch_size

    def classify(self, images: Iterable[bytes]) -> Iterator[Classification]:
        """See :meth:`c4_assets.marco.engine.Engine.classify`."""
        return pipeline(images, pixels, self._probabilities, self._batch_size)

    def _probabilities(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        import tensorflow as tf

        return self._network(tf.constant(batch)).numpy()


@contextmanager
def _start_up_report_put_aside() -> Generator[None, None, None]:
    """Keeps TensorFlow's report of its start-up off stderr, unless the import fails.

    Without a GPU it reports, where an operator looks for errors, that it found none; some of that comes before any
    log level of its own counts.
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
