//! GGUF and safetensors checkpoints, memory-mapped and safe against hostile files.
