-- purpose: a dealer whose name tells on which side of an event the row was written
-- params: name
-- columns: id
INSERT INTO public.dealers (name, city, state, licence)
VALUES (:'name', 'Reno', 'NV', 'DL-' || :'name')
RETURNING id
