// Why single predictions came out as they did: the examples, their maps, and how both change over the training.
