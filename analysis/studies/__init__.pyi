from noisezoo.analysis.studies import evidence as evidence
from noisezoo.analysis.studies.data import Json as Json
from noisezoo.analysis.studies.probing import METRIC as METRIC
from noisezoo.analysis.studies.run import analyze as analyze
from noisezoo.analysis.studies.study import (
    QUICK as QUICK,
    Analysis as Analysis,
    Effort as Effort,
    Judge as Judge,
    Model as Model,
)
from noisezoo.analysis.studies.table import STUDIES as STUDIES
from noisezoo.analysis.studies.verdicts import CONTROL_NAMES as CONTROL_NAMES, direction as direction
