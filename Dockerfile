# generank with CUDA. The driver is the host's (NVIDIA's container toolkit); CUDA's libraries come with torch's packages. Not yet built or run.
#   docker build -t generank .                      (--build-arg GPU=0 leaves out what only a card can use)
#   docker run --gpus all -e HF_TOKEN -v "$PWD/runs:/generank/runs" generank run --profile a100 --out runs/a100 --resume
FROM python:3.11-slim
ARG GPU=1
ENV PIP_NO_CACHE_DIR=1 TOKENIZERS_PARALLELISM=false HF_HOME=/generank/runs/.cache/huggingface GENERANK_CACHE=/generank/runs/.cache/generank
RUN apt-get update && apt-get install -y --no-install-recommends git gcc g++ make && rm -rf /var/lib/apt/lists/*
WORKDIR /generank
COPY requirements/ requirements/
RUN pip install --no-deps --require-hashes -r requirements/cpu.txt -r requirements/cuda.txt -r requirements/model.txt
COPY settings.ini ./
RUN if [ "$GPU" = 1 ]; then pip install $(sed -n 's/^gpu_requirements = //p' settings.ini); fi
COPY . ./
RUN pip install --no-deps --no-build-isolation --editable .
ENTRYPOINT ["generank"]
CMD ["doctor"]
