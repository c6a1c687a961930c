# docker build --target cpu -t dx7data .          renders data sets; no torch
# docker build --target cuda -t dx7data:cuda .    renders and trains on GPUs; gigabytes
#
# docker run --rm -v "$PWD:/data" -w /data --user "$(id -u):$(id -g)" dx7data render --patches bank.syx --out shards/
# docker run --rm --gpus all -v "$PWD:/data" --entrypoint python dx7data:cuda -m train --shards /data/shards --out /data/runs

FROM python:3.13-slim AS source
WORKDIR /dx7data
COPY . .

FROM source AS cpu
RUN pip install --no-cache-dir -e .
ENTRYPOINT ["dx7data"]

# The CUDA libraries come with torch and numba-cuda; the driver is the host's.
FROM source AS cuda
RUN pip install --no-cache-dir -e '.[train,cuda]'
ENTRYPOINT ["dx7data"]
