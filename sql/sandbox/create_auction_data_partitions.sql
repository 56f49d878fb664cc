-- purpose: a partition of auction_data for each month from four months ago to two months ahead, and one for the rest
DO $do$
DECLARE
    month date;
BEGIN
    FOR month IN
        SELECT generate_series(date_trunc('month', now() - interval '4 months'),
                               date_trunc('month', now() + interval '2 months'), interval '1 month')::date
    LOOP
        EXECUTE format('CREATE TABLE public.%I PARTITION OF public.auction_data FOR VALUES FROM (%L) TO (%L)',
                       'auction_data_' || to_char(month, 'YYYY_MM'), month, (month + interval '1 month')::date);
    END LOOP;
    CREATE TABLE public.auction_data_default PARTITION OF public.auction_data DEFAULT;
END
$do$
