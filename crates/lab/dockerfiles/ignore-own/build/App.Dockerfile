FROM base
COPY . /copied/
