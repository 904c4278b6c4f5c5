"""How a pod's Triton is started: by a real shell, which waits for the key that the agent makes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import yaml

from pointsman.agent.serve import control_key
from pointsman.api.v1alpha1 import TritonPool
from pointsman.pools.pod_template import CONTROL, CONTROL_HEADER, Images, pod_template
from wait import until_sync

SPEC = "{metadata: {name: default, namespace: pointsman-system}, spec: {gpu: {count: 1}}}"


def test_triton_waits_for_its_key_and_takes_it_as_it_is(tmp_path: Path) -> None:
    """Nothing runs before the key is there; then it is one argument, whatever a shell does to words."""
    pool = TritonPool.model_validate(yaml.safe_load(SPEC))
    triton, agent = pod_template(pool, Images("pointsman:1", "triton:1"), {})["containers"]
    program = tmp_path / "bin" / "tritonserver"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/started.part\n'
        f"mv {tmp_path}/started.part {tmp_path}/started\n"
    )
    program.chmod(0o755)
    command = [word.replace(CONTROL, str(tmp_path)) for word in triton["command"]]
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    with subprocess.Popen(command, env={"PATH": path}) as shell:
        assert not (tmp_path / "started").exists()
        key = control_key(tmp_path / "control.key")
        until_sync((tmp_path / "started").exists, 10, what="Triton is started")
        assert shell.wait(10) == 0
    arguments = (tmp_path / "started").read_text("ascii").splitlines()
    assert "--model-control-mode=explicit" in arguments
    assert "--allow-gpu-metrics=true" in arguments
    restricted = next(one for one in arguments if one.startswith("--http-restricted-api="))
    assert "model-repository" in restricted
    assert restricted.endswith(f":{CONTROL_HEADER}={key}")
    assert {"--gpus=1", "--instances=1"} <= set(agent["args"])
