"""Instruction tuning: the released model learns to answer. TRL and PEFT train; the data handling is ours."""
