-- purpose: one row that the application keeps fresh, to tell how new a restored copy is
CREATE TABLE public.heartbeat (
    id      integer PRIMARY KEY CHECK (id = 1),
    beat_at timestamptz NOT NULL
)
