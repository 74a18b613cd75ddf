from noisezoo.builder.audit.verify import Report as Report, verify as verify
