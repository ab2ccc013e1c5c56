"""How policies learn: value targets, independent PPO, the learner that turns experience into versions."""
