-- purpose: three rows of four are gone
DELETE FROM practice.swollen WHERE id % 4 <> 0;
