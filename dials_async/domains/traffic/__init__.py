"""Traffic control: one agent for each traffic light of a grid, in SUMO (paper, section 5.1)."""
