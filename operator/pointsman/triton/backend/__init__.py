"""What runs inside Triton, and unchanged in the CLI, the gate and training.

Standard library and numpy only, Python 3.10 syntax: Triton's images bring their own Python. The modules
import each other relatively, which holds here and in Triton, where the version folder (`1`) is the package.
"""
