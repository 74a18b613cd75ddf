from .claims import (
    MEAN as MEAN,
    VERDICTS as VERDICTS,
    Claim as Claim,
    Evidence as Evidence,
    Json as Json,
    scorecard as scorecard,
)
from .data import Data as Data
from .run import analyze as analyze
from .study import (
    QUICK as QUICK,
    Analysis as Analysis,
    Effort as Effort,
    Judge as Judge,
    Model as Model,
    Options as Options,
    Page as Page,
    Study as Study,
    all_studies as all_studies,
    register_study as register_study,
)
