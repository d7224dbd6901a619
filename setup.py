"""What pyproject.toml cannot say: the trainers' folder, a command for each file, and the line that finds trainers."""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

# The one line of nnunet_topo.pth, run at every start of the interpreter: it lets nnU-Net find our trainers. It never
# fails, and it forgets the package again, so that a checkout in the working folder still comes before an installed one.
AT_START = """
before = "nnunet_topo" in sys.modules
try:
    import nnunet_topo._discovery
    nnunet_topo._discovery.append_trainers_folder()
except Exception:
    pass
if not before:
    sys.modules.pop("nnunet_topo._discovery", None)
    sys.modules.pop("nnunet_topo", None)
"""


class BuildPy(build_py):
    """Writes nnunet_topo.pth beside the package, into the wheel of an editable installation too."""

    def run(self):
        super().run()
        folder = self.get_finalized_command("install").install_lib if self.editable_mode else self.build_lib
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, "nnunet_topo.pth").write_text(f"import sys; exec({AT_START!r})\n", encoding="utf-8")


def commands():
    """Files of nnunet_topo/commands that have a main()."""
    files = sorted(Path(__file__).resolve().parent.glob("nnunet_topo/commands/*.py"))
    return [file.stem for file in files if "\ndef main(" in file.read_text(encoding="utf-8")]


if __name__ == "__main__":  # nnU-Net imports this file when nnUNet_extTrainer is the root of a checkout
    packages = find_packages(include=["nnunet_topo", "nnunet_topo.*"])
    setup(
        packages=[*packages, "nnunet_topo.trainers"],
        package_data={"nnunet_topo": ["py.typed"], "nnunet_topo.skeletons": ["tables/*.xz"],
                      "nnunet_topo.report": ["page/*"]},
        package_dir={"nnunet_topo": "nnunet_topo", "nnunet_topo.trainers": "trainers"},
        entry_points={
            "console_scripts": [
                f"nnUNetv2_topo_{command} = nnunet_topo.commands.{command}:main"
                for command in commands()
            ]
        },
        cmdclass={"build_py": BuildPy},
    )
