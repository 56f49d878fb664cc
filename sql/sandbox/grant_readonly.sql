-- purpose: what reporting may do
GRANT SELECT ON
    public.dealers, public.auctions, public.vehicles, public.auction_data, public.users, public.sessions, public.heartbeat
TO dealerscope_readonly
