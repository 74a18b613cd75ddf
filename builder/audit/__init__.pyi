from noisezoo.builder.audit.recompute import Recomputed as Recomputed, recompute_rows as recompute_rows
from noisezoo.builder.audit.verify import Report as Report, verify as verify
