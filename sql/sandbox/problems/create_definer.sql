-- purpose: a function that runs with its owner's rights, and finds what its caller's search_path says
CREATE FUNCTION practice.look_up(wanted bigint) RETURNS text LANGUAGE sql SECURITY DEFINER
AS $$ SELECT secret FROM practice.open_table WHERE id = wanted $$;
