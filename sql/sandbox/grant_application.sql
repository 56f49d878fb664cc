-- purpose: what the application may do
GRANT SELECT, INSERT, UPDATE, DELETE ON
    public.dealers, public.auctions, public.vehicles, public.auction_data, public.users, public.sessions, public.heartbeat
TO dealerscope_app
