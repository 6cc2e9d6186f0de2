"""python -m ndtool.benchmarks.engine: see `suite`."""

from ndtool.benchmarks.engine.suite import main

main()
