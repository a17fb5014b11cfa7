#!/usr/bin/env python3
"""Writes the fixtures `keras_*`: Keras 3 LSTM models through tf2onnx.

    python3 -m venv tests/onnx/.venv
    tests/onnx/.venv/bin/pip install -r conformance/requirements-keras.txt
    tests/onnx/.venv/bin/python tests/onnx/generate_keras.py

Expected outputs are onnxruntime's and must agree with Keras's own within 1e-5. tf2onnx 1.17 turns the
GRU and SimpleRNN layers of Keras 3 into Loop nodes, not into ONNX's GRU and RNN, so they are not here.
"""

import os
import shutil
import sys
from pathlib import Path

os.environ.update(CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3", TF_ENABLE_ONEDNN_OPTS="0")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf2onnx  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "conformance"))
from layout import write_case  # noqa: E402

B, T, I, H = 3, 7, 4, 6
TOLERANCE = 1e-5


def layers(name):
    """The layers of a case; x is [B, T, I]."""
    lstm, bidirectional, dense = keras.layers.LSTM, keras.layers.Bidirectional, keras.layers.Dense
    return {
        "keras_lstm_forecast": [lstm(H), dense(1)],
        "keras_lstm_sequence_softmax": [lstm(H, return_sequences=True), dense(3, activation="softmax")],
        "keras_lstm_bidirectional": [
            bidirectional(lstm(H, return_sequences=True)), lstm(5), dense(3, activation="sigmoid")],
        "keras_lstm_backwards": [lstm(H, go_backwards=True, return_sequences=True)],
    }[name]


def write(name, steps, opset):
    """steps None leaves the time axis dynamic."""
    keras.utils.set_random_seed(20261125)
    network = keras.Sequential([keras.Input((steps, I)), *layers(name)])
    signature = [tf.TensorSpec([None, steps, I], tf.float32, name="x")]
    function = tf.function(lambda x: network(x), input_signature=signature)
    model, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=opset)
    x = np.random.default_rng(7).standard_normal((B, T, I)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    source, target = session.get_inputs()[0].name, session.get_outputs()[0].name
    got = session.run([target], {source: x})[0]
    want = network(x).numpy()
    if got.shape != want.shape or not (np.abs(got - want) <= TOLERANCE + TOLERANCE * np.abs(want)).all():
        sys.exit(f"{name}: onnxruntime and Keras differ")
    if not any(node.op_type == "LSTM" for node in model.graph.node):
        sys.exit(f"{name}: tf2onnx wrote no LSTM")
    shutil.rmtree(HERE / name, ignore_errors=True)
    write_case(HERE / name, model, {source: x}, {target: got})
    print(f"{name:46} opset {model.opset_import[0].version}", " ".join(sorted({n.op_type for n in model.graph.node})))


def main():
    write("keras_lstm_forecast", None, 15)
    write("keras_lstm_sequence_softmax", T, 17)
    write("keras_lstm_bidirectional", T, 13)
    write("keras_lstm_backwards", T, 17)


if __name__ == "__main__":
    main()
