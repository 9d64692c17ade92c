"""The engine of kind ``openvino``: OpenVINO GenAI's continuous batching behind the wire of all engines."""
