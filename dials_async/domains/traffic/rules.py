"""The traffic grid in numbers: roads, cars, lights, observations and influence (paper, section 5.1)."""

EPISODE_STEPS = 300
STEP_S = 1.0

# Roads. All lanes, also the outermost ones, are as long as an agent sees.
LANE_M = 100.0
JUNCTION_M = 18.8
"""From stop line to exit lane: the internal lane that netconvert makes of a corner radius of 6.2 m."""
CORNER_RADIUS_M = 6.2
SPEED_LIMIT_MPS = 10.0

# Cars: the parameters of SUMO's IDM. speedDev is 0: with departSpeed 10 and maxSpeed 10 the factor of the
# original (0.1) never shows, all cars are alike.
ACCEL_MPS2 = 2.6
DECEL_MPS2 = 7.5
EMERGENCY_DECEL_MPS2 = 9.0
HEADWAY_S = 1.0
MIN_GAP_M = 2.5
MAX_SPEED_MPS = 10.0
CAR_M = 5.0

# Demand of the GS: on every outer road a car with this probability each second.
ARRIVAL_PROBABILITY = 0.1

# Lights. A switch leads through yellow; actions are ignored for as long as it lasts.
N_ACTIONS = 2
KEEP, SWITCH = range(N_ACTIONS)
YELLOW_S = 3
NS_GREEN, NS_YELLOW, EW_GREEN, EW_YELLOW = range(4)
"""Phases in the order of a cycle."""
SIGNALS = ("GrGr", "yryr", "rGrG", "ryry")
"""What SUMO shows in each phase; its links are in the order north, east, south, west approach."""

# What an agent sees: four approaches in the order north, south, east, west, nine cells of 10 m each from the
# stop line (the last cell, where cars enter, is left out), then the light.
N_APPROACHES = 4
NORTH, SOUTH, EAST, WEST = range(N_APPROACHES)
CELL_M = 10.0
N_CELLS = 9
DSET_BITS = N_APPROACHES * N_CELLS
LIGHT_BITS = {EW_GREEN: 36, EW_YELLOW: 37, NS_YELLOW: 38, NS_GREEN: 39}
"""Bit of the observation for each phase."""
OBSERVATION_BITS = 40

# The influence: does a car enter this approach in this step? Order of the approaches.
N_SOURCES = N_APPROACHES
N_CLASSES = 2

# The LS puts a car that enters here, at this speed: slow where the road is full.
INSERT_POSITION_M = 6.0
INSERT_SPEED_MPS = 9.5
INSERT_SPEED_CROWDED_MPS = 3.0
CROWDED_CARS = 8
"""More cars than this on the approach: the slow speed."""
