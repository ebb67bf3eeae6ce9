"""The runner of test/memory as a module: its subject, which knows what each of its pages must hold, is ours as well."""
import importlib.util
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path += [os.path.join(HERE, "..", "e2e"), os.path.join(HERE, "..", "memory")]
_spec = importlib.util.spec_from_file_location("memory_runner", os.path.join(HERE, "..", "memory", "run.py"))
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
images = _module.images
Series, ALL_PAGES, Skipped = _module.Series, _module.ALL_PAGES, _module.Skipped
