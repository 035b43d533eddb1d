"""MARCO's graph as OpenVINO reads it from the SavedModel, without TensorFlow."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from c4_assets.models.marco.network import GRAPH_INPUT, GRAPH_OUTPUT, naming_the_model, quiet_stderr, verified_copy
from c4_assets.models.marco.preprocessing import INPUT_SIDE
from c4_assets.models.weights import SAVED_MODEL_FILES


def openvino_graph(saved_model: Path, weights_sha256: str) -> Any:
    """The graph as a model of OpenVINO.

    It goes from :data:`GRAPH_INPUT`, float32 [N, 599, 599, 3], to :data:`GRAPH_OUTPUT`, float32 [N, 4]. It is read
    without TensorFlow, and gives to the last bit what OpenVINO makes of ``frozen_graph``.

    Raises:
        ConfigurationError: the folder does not hold those weights or is not MARCO's SavedModel.
    """
    import openvino as ov
    from openvino.frontend import FrontEndManager  # pyright: ignore[reportPrivateImportUsage]

    with naming_the_model(saved_model), verified_copy(saved_model, weights_sha256) as copy:
        # OpenVINO reads a graph and its variables from files of one name.
        meta_graph, *variables = (copy / name for name in ("n.meta", "n.data-00000-of-00001", "n.index"))
        meta_graph.write_bytes(_without_signatures((copy / SAVED_MODEL_FILES[0]).read_bytes()))
        for renamed, file in zip(variables, SAVED_MODEL_FILES[1:], strict=True):
            (copy / file).rename(renamed)
        frontend = cast("Any", FrontEndManager()).load_by_framework("tf")
        with quiet_stderr():
            model = frontend.load(str(meta_graph))
        start, end = (model.get_place_by_tensor_name(f"{name}:0") for name in (GRAPH_INPUT, GRAPH_OUTPUT))
        model.override_all_inputs([start])
        model.override_all_outputs([end])
        model.set_partial_shape(start, ov.PartialShape([-1, INPUT_SIDE, INPUT_SIDE, 3]))
        model.set_element_type(start, ov.Type.f32)
        graph = frontend.convert(model)
        for unused in [each for each in graph.get_parameters() if not each.output(0).get_target_inputs()]:
            graph.remove_parameter(unused)
        if (len(graph.inputs), len(graph.outputs)) != (1, 1):
            raise ValueError(f"{GRAPH_INPUT} and {GRAPH_OUTPUT} are not in it")
        return graph


def _without_signatures(saved_model: bytes) -> bytes:
    """The graph of a SavedModel (the message MetaGraphDef of TensorFlow's meta_graph.proto) without its signatures.

    Where a signature names a graph's outputs, OpenVINO drops all others, and the cut's is none of them.
    """
    meta_graphs, signature_def = 2, 5
    graph = next(content for number, content, _ in _fields(saved_model) if number == meta_graphs)
    return b"".join(encoded for number, _, encoded in _fields(graph) if number != signature_def)


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, content and encoding of each field of a message in Protocol Buffers' wire format.

    Raises:
        ValueError, IndexError: it is none.
    """
    end = 0
    while end < len(message):
        start = end
        tag, end = _varint(message, end)
        content = end
        size, end = _varint(message, end)
        if tag & 7 == 2:
            content, end = end, end + size
        elif tag & 7:
            raise ValueError(f"a field of kind {tag & 7}")
        yield tag >> 3, message[content:end], message[start:end]


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number that is encoded there, seven bits a byte, and where it ends."""
    number = shift = 0
    while True:
        byte = message[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at
