"""From files and a trained model to scores: in shards, by workers; what is new; drift; what may go."""
