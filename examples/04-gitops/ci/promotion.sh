#!/usr/bin/env bash
# CI: a bundle goes dev → staging → prod and skips nobody. Fails where an environment's bundle changes to one that the
# environment before it does not have in the branch that is merged into. Usage: promotion.sh [BASE-REF]
set -euo pipefail
base=${1:-origin/main}
overlays=$(cd "$(dirname "$0")/../policies/overlays" && pwd)
root=$(git -C "$overlays" rev-parse --show-toplevel)

known() { # environment → its bundle.yaml in the base branch; empty if it has none
  git -C "$root" show "$base:${overlays#"$root"/}/$1/bundle.yaml" 2>/dev/null || true
}

before=dev
for environment in staging prod; do
  wanted=$(cat "$overlays/$environment/bundle.yaml")
  if [[ "$wanted" != "$(known "$environment")" && "$wanted" != "$(known "$before")" ]]; then
    echo "$environment: this bundle is not in $before on $base; merge it there first, then copy bundle.yaml unchanged" >&2
    exit 1
  fi
  before=$environment
done
echo "every bundle was in the environment before it"
