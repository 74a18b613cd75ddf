from noisezoo.builder.audit.verify import Report as Report
from noisezoo.builder.audit.verify import verify as verify
