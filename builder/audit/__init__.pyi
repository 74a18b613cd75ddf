from .recompute import recompute_rows as recompute_rows
from .verify import Report as Report, verify as verify
