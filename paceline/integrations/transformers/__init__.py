"""Inside transformers: `model.generate(custom_generate=paceline.accelerate(…))`."""
