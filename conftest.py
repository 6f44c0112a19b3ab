"""Strict settings for every test and doctest: set before JAX starts."""

import os
import tempfile

os.environ["JAX_NUM_CPU_DEVICES"] = "8"
os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS", "cpu")
os.environ.pop("TFDS_DATA_DIR", None)
# Decoded data and compiled programs are cached apart from the user's own cache.
os.environ.setdefault("JAXCNN_CACHE_DIR", tempfile.mkdtemp(prefix="jaxcnn-test-cache-"))

import hypothesis
import jax

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Thousands of small programs: compiling is nearly all the time. `make test-slow` repeats the
# laws with the optimizations that users get; experiments are run as processes, with them.
if not os.environ.get("JAXCNN_TEST_OPTIMIZED"):
    jax.config.update("jax_disable_most_optimizations", True)

# The fast suite always draws the same; the slow one draws anew, and shows what fails.
hypothesis.settings.register_profile(
    "jaxcnn",
    derandomize=not os.environ.get("JAXCNN_TEST_OPTIMIZED"),
    database=None,
    print_blob=True,
    deadline=None,  # the first draw compiles
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("jaxcnn")

from jaxcnn.compilation import use_compile_cache  # noqa: E402  (after the settings)

use_compile_cache()  # many tests compile the same programs

from tests.conftest import nnx_works  # noqa: E402

collect_ignore = [] if nnx_works() else ["jaxcnn/interop/flax/nnx.py", "tests/nnx_modules.py"]
