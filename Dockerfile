# The page and the REST API of a trained model. Mount a model folder at /model and, to search it, images at /images:
#   docker build -t x2vlm . && docker run -p 127.0.0.1:7860:7860 -v $PWD/work_dirs/model:/model x2vlm
FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 && rm -rf /var/lib/apt/lists/*
WORKDIR /x2vlm
COPY setup.cfg pyproject.toml README.md ./
COPY x2vlm x2vlm
COPY configs configs
RUN pip install --no-cache-dir '.[app,video]'
RUN useradd --create-home served
USER served
EXPOSE 7860
ENTRYPOINT ["x2vlm", "app", "--host", "0.0.0.0"]
CMD ["/model"]
