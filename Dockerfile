# Serves a model over HTTP. For the GPU: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128
FROM python:3.12-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG TORCH_VERSION=2.13.0
ARG EXTRAS=serve,dicom
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python -m venv /opt/mbdcnn && /opt/mbdcnn/bin/pip install --index-url "$TORCH_INDEX" "torch==$TORCH_VERSION"
COPY requirements.lock ./
# The versions of the lock without its hashes, which pip would then also ask of the package itself.
RUN sed -n 's/^\([A-Za-z0-9._-]*==[^ ]*\).*/\1/p' requirements.lock > versions.txt
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN /opt/mbdcnn/bin/pip install --constraint versions.txt ".[$EXTRAS]"

FROM python:3.12-slim
RUN useradd --system --no-create-home --uid 10001 mbdcnn
COPY --from=build /opt/mbdcnn /opt/mbdcnn
ENV PATH=/opt/mbdcnn/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["mbdcnn", "serve", "--host", "0.0.0.0", "--port", "8000"]
