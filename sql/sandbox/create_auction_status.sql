-- purpose: the states an auction goes through
CREATE TYPE public.auction_status AS ENUM ('scheduled', 'open', 'closed', 'cancelled')
