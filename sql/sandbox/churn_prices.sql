-- purpose: new prices for one vehicle in sixteen: heavy traffic on heap and WAL
-- params: part, 0 to 15
UPDATE public.vehicles
SET price = round(price * 0.99, 2), mileage = mileage + 12
WHERE id % 16 = :part::int
