"""Ground truth for every task, made from pools of sound: pure functions of (inputs, draws)."""
