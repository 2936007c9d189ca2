FROM base
LABEL from=base
ONBUILD ARG WHO=trigger
ONBUILD RUN echo "$WHO" > /order
ONBUILD COPY data /data
ONBUILD ENV TRIGGERED="yes it was"
ONBUILD LABEL triggered=$TRIGGERED
ONBUILD WORKDIR /data
CMD ["base"]
