"""Fine-tuning: examples, adapters, preferences; the steps are those of ``openglm.train``."""
