from .report import begin_report as begin_report, write_report as write_report
