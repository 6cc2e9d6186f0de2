"""Studies: methods and settings compared on one model and one data set, over several seeds."""

from ndtool.train.study.plan import Job, Variant, baseline_of, plan_jobs, plan_variants
from ndtool.train.study.table import Row, rows_of
from ndtool.train.study.work import Study

__all__ = ["Job", "Row", "Study", "Variant", "baseline_of", "plan_jobs", "plan_variants", "rows_of"]
