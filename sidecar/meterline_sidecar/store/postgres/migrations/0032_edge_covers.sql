-- Up to which number of a worker's events an edge has rolled up what is here, by an epoch
-- of its ledger and a counting. Written with what it rolled up: one is never without the
-- other. An edge to which the worker goes over counts only what comes behind that.
CREATE TABLE edge_covers (
  producer TEXT COLLATE "C" NOT NULL, -- the worker
  epoch TEXT COLLATE "C" NOT NULL, -- the beginning of the epoch's producer
  generation TEXT COLLATE "C" NOT NULL, -- as the counting is called
  edge_id BIGINT NOT NULL,
  last_seq BIGINT NOT NULL,
  PRIMARY KEY (producer, epoch, generation)
);
