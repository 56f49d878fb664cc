-- purpose: an int column that it feeds
CREATE TABLE practice.tickets (id int DEFAULT nextval('practice.ticket'), at timestamptz DEFAULT now());
