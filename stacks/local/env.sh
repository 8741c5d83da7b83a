# shellcheck shell=bash
# source stacks/local/env.sh   (bash)   then: cd stacks/local; pulumi stack init local; pulumi up
# Sets what Pulumi needs; `stacks/places.py` gives `anlan up` the same variables.

_anlan_checkout="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
export ANLAN_STATE_DIR="${ANLAN_STATE_DIR:-$_anlan_checkout/.anlan}"
export PATH="${ANLAN_CACHE:-$HOME/.cache/anlan}/bin:$_anlan_checkout/.venv/bin:$PATH"
export PULUMI_BACKEND_URL="file://$ANLAN_STATE_DIR/pulumi"
export PULUMI_HOME="$ANLAN_STATE_DIR/pulumi/home"
export PULUMI_CONFIG_PASSPHRASE_FILE="$ANLAN_STATE_DIR/pulumi/passphrase"
export PULUMI_SKIP_UPDATE_CHECK=1
export GRPC_VERBOSITY=NONE
python -c 'import stacks.places as p; p.pulumi_environment(p.state_directory())'
unset _anlan_checkout
