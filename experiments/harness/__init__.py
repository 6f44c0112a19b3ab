"""What all experiments share: settings, data, the run from start to verdict, tables of results.

Read `job.Experiment` first, then `runner.main`, which is what happens in the order it happens.
"""
