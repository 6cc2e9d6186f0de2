"""ONNX files as input: any file to a torch.fx.GraphModule that behaves as onnxruntime says."""

from ndtool.export.onnx_import.load import load_onnx

__all__ = ["load_onnx"]
