from noisezoo.builder.audit.recompute import recompute_rows as recompute_rows
from noisezoo.builder.audit.verify import Report as Report, verify as verify
