from noisezoo.analysis.report.report import begin_report as begin_report
from noisezoo.analysis.report.report import write_report as write_report
